-- For how many seconds servers have watched a session idle, as it then was (UploadStore.idleness): what a restart
-- does not make them forget.
ALTER TABLE uploads ADD COLUMN state TEXT;
ALTER TABLE uploads ADD COLUMN idle INTEGER NOT NULL DEFAULT 0;
