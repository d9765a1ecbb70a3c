-- Deletes more than the checks let pass.
DELETE FROM `${D}.a` WHERE id > 2;
