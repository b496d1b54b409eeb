create table users (
  id bigserial primary key,
  name varchar(255) not null,
  email varchar(255) not null,
  constraint users_email_unique unique (email)
);

create table teams (
  id bigserial primary key,
  name varchar(255) not null
);

-- members who leave are soft-deleted
create table team_user (
  id bigserial primary key,
  team_id bigint not null,
  user_id bigint not null,
  created_at timestamp(0) without time zone null,
  deleted_at timestamp(0) without time zone null,
  constraint team_user_team_id_foreign foreign key (team_id) references teams (id) on delete cascade,
  constraint team_user_user_id_foreign foreign key (user_id) references users (id) on delete cascade
);

create table newsletters (
  id bigserial primary key,
  team_id bigint not null,
  title varchar(255) not null,
  deleted_at timestamp(0) without time zone null,
  constraint newsletters_team_id_foreign foreign key (team_id) references teams (id)
);

create table editions (
  id bigserial primary key,
  newsletter_id bigint not null,
  subject varchar(255) not null,
  body text not null,
  send_at timestamp(0) without time zone null,
  constraint editions_newsletter_id_foreign foreign key (newsletter_id) references newsletters (id) on delete cascade
);

create table subscribers (
  id bigserial primary key,
  newsletter_id bigint not null,
  email varchar(255) not null,
  deleted_at timestamp(0) without time zone null,
  constraint subscribers_newsletter_id_foreign foreign key (newsletter_id) references newsletters (id) on delete cascade
);
