// Every behaviour of the desk's pages. Each module works on data- attributes, wherever these come from.
import "./attachments.js";
import "./back.js";
import "./badges.js";
import "./dialog.js";
import "./drops.js";
import "./errors.js";
import "./forms.js";
import "./keys.js";
import "./print.js";
import "./rows.js";
import "./select.js";
import "./side.js";
import "./theme.js";
