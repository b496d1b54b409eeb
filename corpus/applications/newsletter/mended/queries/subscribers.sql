-- name: subscribers.export
select distinct subscribers.id, subscribers.email
from subscribers
inner join newsletters on newsletters.id = subscribers.newsletter_id
inner join team_user on team_user.team_id = newsletters.team_id
where team_user.user_id = :user
  and team_user.deleted_at is null
  and newsletters.id = :newsletter_id
  and newsletters.deleted_at is null
  and subscribers.deleted_at is null
order by subscribers.email asc, subscribers.id asc;

-- name: subscribers.remove
update subscribers
set deleted_at = current_timestamp
from newsletters
where newsletters.id = subscribers.newsletter_id
  and subscribers.id = :subscriber_id
  and subscribers.deleted_at is null
  and newsletters.deleted_at is null
  and exists (
    select * from team_user
    where team_user.team_id = newsletters.team_id
      and team_user.user_id = :user
      and team_user.deleted_at is null
  );
