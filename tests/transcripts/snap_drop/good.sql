INSERT INTO `${D}.a` (id, name) VALUES (6, 'n6');
UPDATE `${D}.b` SET amount = amount + 1 WHERE TRUE;
