INSERT INTO `${D}.a` (id, name) VALUES (6, 'n6');
