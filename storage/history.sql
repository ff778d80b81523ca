-- Every move of a tag, numbered from 1 for each tag. Names are text, for a history outlives its repository. old and
-- new are binary digests, NULL where the tag is absent; at is for people, in seconds, and goes back with the clock.
-- In one tree: with a rowid and an index beside it a move of a tag cost 5 % more, as each page that changes is written.
CREATE TABLE tag_history (
    repository  TEXT NOT NULL,
    tag         TEXT NOT NULL,
    number      INTEGER NOT NULL,
    old         BLOB,
    new         BLOB,
    who         TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (repository, tag, number)
) WITHOUT ROWID;
