"""Orders of restaurants: what the waiters' tablets and the kitchen screen call."""

import datetime as dt


def kitchen_queue(conn, caller):
    """What the kitchen has to cook, oldest order first."""
    return conn.execute(
        """
        SELECT l.id, o.table_no, i.name, l.quantity
        FROM order_lines l
        JOIN orders o ON o.id = l.order_id
        JOIN menu_items i ON i.id = l.menu_item_id AND i.restaurant_id = o.restaurant_id
        WHERE o.restaurant_id = %s AND o.state = 'open' AND l.state = 'waiting'
        ORDER BY o.opened_at, l.id
        """,
        (caller.tenant,),
    ).fetchall()


def add_line(conn, caller, order_id: int, menu_item_id: int, quantity: int):
    """Put an item of the menu on an open order."""
    row = conn.execute(
        """
        INSERT INTO order_lines (order_id, menu_item_id, quantity, price)
        SELECT o.id, i.id, %s, i.price
        FROM orders o
        JOIN menu_items i ON i.restaurant_id = o.restaurant_id
        WHERE o.id = %s AND i.id = %s AND o.restaurant_id = %s AND o.state = 'open'
        RETURNING id
        """,
        (quantity, order_id, menu_item_id, caller.tenant),
    ).fetchone()
    return row[0] if row else None


def mark_ready(conn, caller, order_line_ids: list[int]):
    """The kitchen has cooked these lines."""
    ready = conn.execute(
        """
        UPDATE order_lines
        SET state = 'ready'
        WHERE id = ANY(%s::integer[])
          AND order_id IN (SELECT id FROM orders WHERE restaurant_id = %s AND state = 'open')
        """,
        (order_line_ids, caller.tenant),
    )
    return ready.rowcount


def close_order(conn, caller, order_id: int):
    """Close an order; answers what is still to be paid."""
    with conn.transaction():
        order = conn.execute(
            "SELECT id FROM orders WHERE id = %s AND restaurant_id = %s FOR UPDATE",
            (order_id, caller.tenant),
        ).fetchone()
        if order is None:
            return None
        conn.execute("UPDATE orders SET state = 'closed' WHERE id = %s", (order[0],))
        return conn.execute(
            """
            SELECT (SELECT coalesce(sum(quantity * price), 0) FROM order_lines WHERE order_id = %s)
                 - (SELECT coalesce(sum(amount), 0) FROM payments WHERE order_id = %s)
            """,
            (order[0], order[0]),
        ).fetchone()[0]


def takings(conn, caller, day: dt.date):
    """What was paid on a day, by means of payment."""
    return conn.execute(
        """
        SELECT p.method, sum(p.amount)
        FROM payments p
        JOIN orders o ON o.id = p.order_id
        WHERE o.restaurant_id = %s AND p.paid_on = %s
        GROUP BY p.method
        ORDER BY p.method
        """,
        (caller.tenant, day),
    ).fetchall()
