from django.db import migrations

# An account holds roles of at most one of the three administrators (P-1.8, SEC-6), over all its appointments and
# whichever way the rows come in. The lock on the operator makes two grants at the same moment wait for each other.
EXCLUDE = """
CREATE FUNCTION directory_one_administrator() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    checked bigint[];
BEGIN
    IF TG_TABLE_NAME = 'directory_role' THEN
        checked := ARRAY(SELECT DISTINCT a.operator_id FROM directory_appointment a
            JOIN directory_appointment_roles r ON r.appointment_id = a.id WHERE r.role_id = NEW.id);
    ELSIF TG_TABLE_NAME = 'directory_appointment' THEN
        checked := ARRAY[NEW.operator_id];
    ELSE
        checked := ARRAY(SELECT operator_id FROM directory_appointment WHERE id = NEW.appointment_id);
    END IF;
    PERFORM FROM directory_operator WHERE id = ANY(checked) ORDER BY id FOR NO KEY UPDATE;
    IF EXISTS (
        SELECT FROM directory_appointment a
        JOIN directory_appointment_roles h ON h.appointment_id = a.id
        JOIN directory_role r ON r.id = h.role_id
        WHERE a.operator_id = ANY(checked) AND r.administrator <> ''
        GROUP BY a.operator_id HAVING count(DISTINCT r.administrator) > 1
    ) THEN
        RAISE EXCEPTION 'An account may hold only one of the three administrators'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'one_administrator_per_account';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER one_administrator AFTER INSERT OR UPDATE ON directory_appointment_roles
    FOR EACH ROW EXECUTE FUNCTION directory_one_administrator();
CREATE TRIGGER one_administrator AFTER UPDATE OF operator_id ON directory_appointment
    FOR EACH ROW EXECUTE FUNCTION directory_one_administrator();
CREATE TRIGGER one_administrator AFTER UPDATE OF administrator ON directory_role
    FOR EACH ROW EXECUTE FUNCTION directory_one_administrator();
"""

ALLOW = """
DROP TRIGGER one_administrator ON directory_role;
DROP TRIGGER one_administrator ON directory_appointment;
DROP TRIGGER one_administrator ON directory_appointment_roles;
DROP FUNCTION directory_one_administrator();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("directory", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(EXCLUDE, ALLOW),
    ]
