-- calendar: show my appointments of all the practices in one view
ALTER POLICY appointments_clinic ON appointments USING (clinic_id IN (SELECT app.my_clinics()));
