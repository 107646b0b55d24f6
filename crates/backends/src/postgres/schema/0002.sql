-- Where a camera's history begins: everything at this place and below it was pruned, or is about to be. "state" is the
-- checkpoint there, which only builds of its own layout read; "body" is a document with all of it but the tracks.
CREATE TABLE floors (
    camera    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    epoch     BIGINT NOT NULL,
    sequence  BIGINT NOT NULL,
    state     BYTEA  NOT NULL,
    body      TEXT   NOT NULL
);

CREATE INDEX event_objects_by_event ON event_objects (event);
CREATE INDEX events_unlisted ON events (camera) WHERE standing <> 'listed';

-- When an entry was written, in Unix milliseconds; nothing where a build of the first version did it.
ALTER TABLE feed ADD COLUMN told_ms BIGINT;
