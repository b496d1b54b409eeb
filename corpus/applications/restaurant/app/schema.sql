CREATE TABLE restaurants (
    id   serial PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE menu_items (
    id            serial PRIMARY KEY,
    restaurant_id integer NOT NULL REFERENCES restaurants,
    name          text NOT NULL,
    price         numeric(8,2) NOT NULL
);

CREATE TABLE orders (
    id            serial PRIMARY KEY,
    restaurant_id integer NOT NULL REFERENCES restaurants,
    table_no      integer NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    opened_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE order_lines (
    id           serial PRIMARY KEY,
    order_id     integer NOT NULL REFERENCES orders ON DELETE CASCADE,
    menu_item_id integer NOT NULL REFERENCES menu_items,
    quantity     integer NOT NULL DEFAULT 1,
    price        numeric(8,2) NOT NULL,
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'ready', 'served'))
);

CREATE TABLE payments (
    id       serial PRIMARY KEY,
    order_id integer NOT NULL REFERENCES orders ON DELETE CASCADE,
    method   text NOT NULL CHECK (method IN ('cash', 'card', 'voucher')),
    amount   numeric(8,2) NOT NULL,
    paid_on  date NOT NULL DEFAULT current_date
);
