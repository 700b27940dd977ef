CREATE TABLE sensor (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO sensor (name) VALUES ('hall');
ALTER TABLE reading ADD COLUMN sensor INTEGER REFERENCES sensor;
UPDATE reading SET sensor = 1, celsius = celsius + 273.15;
ALTER TABLE reading RENAME COLUMN celsius TO kelvin;
PRAGMA user_version = 2;
