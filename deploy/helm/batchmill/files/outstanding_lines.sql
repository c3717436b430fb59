/* Lines without an outcome: those not handed out yet and those still open in a chunk. A batch in any other phase
   wants one worker to plan, stop or finish it. The queues of the broker are kept short and do not tell this. */
SELECT coalesce(sum(CASE WHEN b.phase = 'running' THEN greatest(1, b.total - b.next_line + coalesce(c.open_lines, 0))
                         ELSE 1 END), 0)::bigint
FROM batch_work b
LEFT JOIN (SELECT batch_id, sum(lines - bit_count(done)) AS open_lines FROM claims GROUP BY batch_id) c
    ON c.batch_id = b.batch_id
