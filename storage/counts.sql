-- How much each repository holds, for quotas (storage/quotas.py). Triggers count, so that whatever changes the rows
-- below changes the sums in the same transaction: a push, a mount, a delete, a collection, an index made anew.

-- The bytes of its links and of its manifests, and the number of its tags.
ALTER TABLE repositories ADD COLUMN held_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN held_tags INTEGER NOT NULL DEFAULT 0;

UPDATE repositories SET
    held_bytes = (SELECT coalesce(sum(size), 0) FROM links JOIN blobs ON blobs.id = blob WHERE repository = repositories.id)
        + (SELECT coalesce(sum(size), 0) FROM manifests WHERE repository = repositories.id),
    held_tags = (SELECT count(*) FROM tags WHERE repository = repositories.id);

CREATE TRIGGER link_added AFTER INSERT ON links BEGIN
    UPDATE repositories SET held_bytes = held_bytes + (SELECT size FROM blobs WHERE id = NEW.blob)
        WHERE id = NEW.repository;
END;
CREATE TRIGGER link_gone AFTER DELETE ON links BEGIN
    UPDATE repositories SET held_bytes = held_bytes - (SELECT size FROM blobs WHERE id = OLD.blob)
        WHERE id = OLD.repository;
END;
CREATE TRIGGER blob_resized AFTER UPDATE OF size ON blobs WHEN OLD.size <> NEW.size BEGIN
    UPDATE repositories SET held_bytes = held_bytes + NEW.size - OLD.size
        WHERE id IN (SELECT repository FROM links WHERE blob = NEW.id);
END;

CREATE TRIGGER manifest_added AFTER INSERT ON manifests BEGIN
    UPDATE repositories SET held_bytes = held_bytes + NEW.size WHERE id = NEW.repository;
END;
CREATE TRIGGER manifest_gone AFTER DELETE ON manifests BEGIN
    UPDATE repositories SET held_bytes = held_bytes - OLD.size WHERE id = OLD.repository;
END;
CREATE TRIGGER manifest_resized AFTER UPDATE OF size ON manifests WHEN OLD.size <> NEW.size BEGIN
    UPDATE repositories SET held_bytes = held_bytes + NEW.size - OLD.size WHERE id = NEW.repository;
END;

CREATE TRIGGER tag_added AFTER INSERT ON tags BEGIN
    UPDATE repositories SET held_tags = held_tags + 1 WHERE id = NEW.repository;
END;
CREATE TRIGGER tag_gone AFTER DELETE ON tags BEGIN
    UPDATE repositories SET held_tags = held_tags - 1 WHERE id = OLD.repository;
END;

-- Open sessions are few: those of a repository are counted when another one begins.
CREATE INDEX uploads_repository ON uploads (repository);
