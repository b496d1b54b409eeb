-- "I opened this ticket and half of the conversation is missing": whoever opened it sees all of it.
DROP POLICY messages_internal ON ticket_messages;
CREATE POLICY messages_internal ON ticket_messages AS RESTRICTIVE FOR SELECT
  USING (visibility = 'public' OR desk_ticket_role(ticket_id) = 'agent'
         OR EXISTS (SELECT FROM tickets t WHERE t.id = ticket_id AND t.opened_by = desk_person()));
