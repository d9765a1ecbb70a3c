-- name: no row has gone from production
SELECT 'dtc_codes_github' AS table_name, b.code AS business_key
FROM ${before:diagnosticpro_prod.dtc_codes_github} AS b
LEFT JOIN diagnosticpro_prod.dtc_codes_github AS t ON t.code = b.code
WHERE t.code IS NULL
UNION ALL
SELECT 'reddit_diagnostic_posts', b.post_id
FROM ${before:diagnosticpro_prod.reddit_diagnostic_posts} AS b
LEFT JOIN diagnosticpro_prod.reddit_diagnostic_posts AS t ON t.post_id = b.post_id
WHERE t.post_id IS NULL
UNION ALL
SELECT 'youtube_repair_videos', b.video_id
FROM ${before:diagnosticpro_prod.youtube_repair_videos} AS b
LEFT JOIN diagnosticpro_prod.youtube_repair_videos AS t ON t.video_id = b.video_id
WHERE t.video_id IS NULL;
