UPDATE `${D}.a` SET name = "theirs" WHERE id = 1;
