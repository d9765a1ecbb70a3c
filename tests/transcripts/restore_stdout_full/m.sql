DELETE FROM `${D}.a` WHERE id = 2;
