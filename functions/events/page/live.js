// The stream of changes, which resumes by itself.

const CHANGES = ["opened", "updated", "closed", "revised", "withdrawn"];
const PATIENCE_MS = 3000;

/**
 * Follows changes from a place on. A browser resumes a broken stream on its own, sending the last message's id; where it
 * gives up (the server refused), a new stream begins at the last place that was heard of.
 */
export class Live {
  #source = null;
  #from = "";
  #timer = 0;

  constructor({ change, reset, state }) {
    this.hear = { change, reset, state };
    // A page that sleeps in the background may find its stream dead.
    addEventListener("online", () => this.follow(this.#from));
    addEventListener("pagehide", () => this.stop());
    addEventListener("pageshow", (event) => event.persisted && this.follow(this.#from));
  }

  follow(from) {
    this.stop();
    this.#from = from;
    const source = new EventSource(`/v1/events/stream?last_event_id=${encodeURIComponent(from)}`);
    this.#source = source;
    source.onopen = () => this.hear.state("live");
    source.onerror = () => {
      this.hear.state("lost");
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.follow(this.#from), PATIENCE_MS);
      }
    };
    for (const kind of CHANGES) {
      source.addEventListener(kind, (message) => {
        this.#from = message.lastEventId;
        this.hear.change(JSON.parse(message.data));
      });
    }
    source.addEventListener("reset", (message) => {
      this.#from = message.lastEventId;
      this.hear.reset();
    });
  }

  stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }
}
