UPDATE `${D}.a` SET name = UPPER(name) WHERE id > 3;
