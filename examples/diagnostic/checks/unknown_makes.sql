-- name: every make is one that the equipment supports
WITH supported AS (
  SELECT make
  FROM diagnosticpro_prod.equipment_registry AS registry
  CROSS JOIN UNNEST(registry.supported_makes) AS make
),
named AS (
  SELECT 'reddit_diagnostic_posts' AS table_name, vehicle.make AS make, COUNT(*) AS row_count
  FROM diagnosticpro_prod.reddit_diagnostic_posts
  GROUP BY vehicle.make
  UNION ALL
  SELECT 'youtube_repair_videos', make, COUNT(*)
  FROM diagnosticpro_prod.youtube_repair_videos
  GROUP BY make
)
SELECT named.table_name, named.make, named.row_count
FROM named
LEFT JOIN supported ON supported.make = named.make
WHERE supported.make IS NULL
ORDER BY named.table_name, named.make;
