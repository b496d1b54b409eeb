-- Typos in house templates are mended from the same editor.
DROP POLICY templates_update ON app.form_templates;
CREATE POLICY templates_update ON app.form_templates FOR UPDATE TO forms_api
  USING (org_id = app.current_org() OR org_id IS NULL);
