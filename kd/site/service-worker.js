// Keeps the page in the browser, so that it works without a connection after the first visit. The command that writes
// the page puts two lists of its files above: FILES, asked for anew each time and taken from here where no response
// comes or an error, and KEPT, which have their content's checksum in their names and are fetched once.

const CACHE = `kept for ${registration.scope}`; // an origin can hold several pages
const address = (path) => new URL(path, registration.scope).href;
const files = new Set(FILES.map(address)), kept = new Set(KEPT.map(address));

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(activate()));
addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url), asked = origin + pathname; // T and example make no other page
  if (event.request.method !== "GET") return;
  if (kept.has(asked)) event.respondWith(fromHere(event, asked));
  else if (files.has(asked)) event.respondWith(fromThere(event, asked));
});

async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll([...files].map((each) => new Request(each, { cache: "no-cache" })));
  await skipWaiting();
}

async function activate() {
  const cache = await caches.open(CACHE);
  for (const { url } of await cache.keys()) if (!files.has(url) && !kept.has(url)) await cache.delete(url);
  await clients.claim();
}

async function fromHere(event, asked) {
  return (await (await caches.open(CACHE)).match(asked)) ?? fetched(event, asked);
}

async function fromThere(event, asked) {
  const here = async () => (await caches.open(CACHE)).match(asked);
  try {
    const response = await fetched(event, asked);
    return response.status < 400 ? response : (await here()) ?? response; // the host may be on its way up
  } catch (error) {
    const found = await here();
    if (found) return found;
    throw error;
  }
}

async function fetched(event, asked) {
  const asNew = files.has(asked) && event.request.mode !== "navigate"; // the browser may have an older one
  const response = await fetch(event.request, asNew ? { cache: "no-cache" } : {});
  // Some hosts respond with a page where a file is missing: that must not stay under the file's name.
  const wrong = kept.has(asked) && response.headers.get("content-type")?.startsWith("text/html");
  if (response.status === 200 && !wrong) event.waitUntil(keep(asked, response.clone()));
  return response;
}

// Where there is no room for it, the page goes on without.
async function keep(asked, response) {
  try {
    await (await caches.open(CACHE)).put(asked, response);
  } catch (error) {
    console.warn(error);
  }
}
