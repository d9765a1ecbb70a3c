-- name: no key is in production twice
SELECT 'dtc_codes_github' AS table_name, code AS business_key, COUNT(*) AS copies
FROM diagnosticpro_prod.dtc_codes_github
GROUP BY code
HAVING COUNT(*) > 1
UNION ALL
SELECT 'reddit_diagnostic_posts', post_id, COUNT(*)
FROM diagnosticpro_prod.reddit_diagnostic_posts
GROUP BY post_id
HAVING COUNT(*) > 1
UNION ALL
SELECT 'youtube_repair_videos', video_id, COUNT(*)
FROM diagnosticpro_prod.youtube_repair_videos
GROUP BY video_id
HAVING COUNT(*) > 1;
