SELECT id, name FROM `${D}.a` WHERE name IS NULL;
SELECT id FROM `${D}.a` WHERE id < 0;
