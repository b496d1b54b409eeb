-- name: newsletters.index
select newsletters.id, newsletters.title
from newsletters
where newsletters.deleted_at is null
  and exists (
    select * from team_user
    where team_user.team_id = newsletters.team_id
      and team_user.user_id = :user
      and team_user.deleted_at is null
  )
order by newsletters.title asc, newsletters.id asc;

-- name: editions.schedule
update editions
set send_at = :send_at
where editions.id = :edition_id
  and editions.newsletter_id in (
    select newsletters.id
    from newsletters
    inner join team_user on team_user.team_id = newsletters.team_id
    where team_user.user_id = :user
      and team_user.deleted_at is null
      and newsletters.deleted_at is null
  );

-- name: editions.drafts
select editions.id, editions.subject, newsletters.title
from editions
inner join newsletters on newsletters.id = editions.newsletter_id
where editions.send_at is null
  and newsletters.deleted_at is null
  and newsletters.team_id in (
    select team_user.team_id from team_user
    where team_user.user_id = :user and team_user.deleted_at is null
  )
order by editions.id asc;
