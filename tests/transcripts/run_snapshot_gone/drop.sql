DROP SNAPSHOT TABLE `${D}.a_snapshot_r_run_snapshot_gone`;
