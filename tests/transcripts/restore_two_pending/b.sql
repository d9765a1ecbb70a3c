DELETE FROM `${D}.b` WHERE id > 2;
