UPDATE `${D}.a` SET no_such_column = 1 WHERE TRUE;
