DELETE FROM `${D}.a` WHERE id > 3;
DELETE FROM `${D}.b` WHERE id > 2;
