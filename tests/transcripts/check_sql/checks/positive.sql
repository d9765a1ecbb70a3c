ASSERT (SELECT MIN(id) FROM `${D}.a`) > 0 AS 'ids are positive';
