-- Of this application, beside the flights. Both tables are split by tailnum, as flights is, so that
-- a note, its count and the flights of the same aircraft are on one shard.

CREATE TABLE notes (
    tailnum text NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    written timestamptz NOT NULL DEFAULT now(),
    text text NOT NULL CONSTRAINT note_length CHECK (char_length(text) BETWEEN 1 AND 280),
    PRIMARY KEY (tailnum, id)
);

CREATE TABLE watched (
    tailnum text PRIMARY KEY,
    notes int NOT NULL CONSTRAINT notes_of_one_aircraft CHECK (notes BETWEEN 0 AND 5)
);

CREATE INDEX ON flights (dest);
CREATE INDEX ON flights (arr_delay);
ANALYZE;
