-- What garbage collection notes (storage/collect.py). Times are the store's own, in seconds (storage/clock.py).

-- Since when nothing needs it, and nobody has been told that it is here. NULL: it stays.
ALTER TABLE links ADD COLUMN mark INTEGER;
ALTER TABLE manifests ADD COLUMN mark INTEGER;
CREATE INDEX links_mark ON links (repository, mark) WHERE mark IS NOT NULL;
CREATE INDEX manifests_mark ON manifests (repository, mark) WHERE mark IS NOT NULL;

-- What indexes name, without the layers of images.
CREATE INDEX edges_children ON edges (repository, parent, child) WHERE kind = 3;

-- The last pull that was noted; NULL: none yet.
ALTER TABLE manifests ADD COLUMN pulled INTEGER;

-- When a blob last came into the repository: its manifest may be on the way.
ALTER TABLE repositories ADD COLUMN active INTEGER NOT NULL DEFAULT 0;

-- One row. The store's time was `time` at `uptime` seconds of boot `boot`, when wall clocks showed `wall`.
-- marked_in: the boot that all marks are of. collected: the store's time when the last pass had ended.
CREATE TABLE clock (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    boot       TEXT NOT NULL,
    uptime     INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    wall       INTEGER NOT NULL,
    marked_in  TEXT NOT NULL DEFAULT '',
    collected  INTEGER
);
