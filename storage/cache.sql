-- When an upstream last said that a tag of its is what the index has, in the store's time; NULL: it has not yet, or the
-- tag is no upstream's. Bookkeeping, written without a sync: what a power cut takes back is asked once more.
ALTER TABLE tags ADD COLUMN checked INTEGER;
