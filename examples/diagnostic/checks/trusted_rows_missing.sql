-- name: every row staged with a confidence of 0.9 or more is in production
SELECT 'dtc_codes_github' AS table_name, s.code AS business_key
FROM repair_diagnostics.dtc_codes_github AS s
LEFT JOIN diagnosticpro_prod.dtc_codes_github AS t ON t.code = s.code
WHERE s.confidence >= 0.9 AND t.code IS NULL
UNION ALL
SELECT DISTINCT 'reddit_diagnostic_posts', s.post_id
FROM repair_diagnostics.reddit_diagnostic_posts AS s
LEFT JOIN diagnosticpro_prod.reddit_diagnostic_posts AS t ON t.post_id = s.post_id
WHERE s.posted_at >= TIMESTAMP '2024-10-01 00:00:00+00' AND s.confidence >= 0.9 AND t.post_id IS NULL
UNION ALL
SELECT 'youtube_repair_videos', s.video_id
FROM repair_diagnostics.youtube_repair_videos AS s
LEFT JOIN diagnosticpro_prod.youtube_repair_videos AS t ON t.video_id = s.video_id
WHERE s.confidence >= 0.9 AND t.video_id IS NULL;
