INSERT INTO `${D}.a` (id, name) VALUES (7, 'another');
