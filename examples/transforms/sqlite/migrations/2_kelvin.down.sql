ALTER TABLE reading DROP COLUMN sensor;
DROP TABLE sensor;
ALTER TABLE reading RENAME COLUMN kelvin TO celsius;
UPDATE reading SET celsius = round(celsius - 273.15, 2);
PRAGMA user_version = 1;
