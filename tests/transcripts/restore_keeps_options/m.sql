DELETE FROM `${D}.p` WHERE day = DATE '2026-01-01';
ALTER TABLE `${D}.p` SET OPTIONS (description = 'changed', labels = [('team', 'y')]);
