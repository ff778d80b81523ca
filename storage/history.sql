-- Every move of a tag. Names are text, for a history outlives its repository. old and new are binary digests, NULL
-- where the tag is absent; at is for people, in seconds, and may go back: the order is that of the ids.
CREATE TABLE tag_history (
    id          INTEGER PRIMARY KEY,
    repository  TEXT NOT NULL,
    tag         TEXT NOT NULL,
    old         BLOB,
    new         BLOB,
    who         TEXT NOT NULL,
    at          INTEGER NOT NULL
);
CREATE INDEX tag_history_tag ON tag_history (repository, tag);
