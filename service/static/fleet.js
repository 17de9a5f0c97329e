/** Starts the fleet page: looks at the fleet every two seconds while somebody looks at the page. */

import { lookAtFleet } from "./fleet_data.js";
import { FleetView } from "./fleet_view.js";

const EVERY_MS = 2000;

const view = new FleetView();
document.getElementById("not-started").remove();

async function look() {
  if (document.visibilityState === "visible") {
    try {
      view.show(await lookAtFleet());
    } catch (error) {
      view.showUnreachable(error.message);
    }
  }
  setTimeout(look, EVERY_MS);
}

look();
