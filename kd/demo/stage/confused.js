// ---- the images behind a line of the map: those of one class to which a network gives most of the other -------

const MOST = 6; // images of each of the two classes

// Of the recorded images of class `of` those to which the network gives `to` most at T, the most first: their places in
// the class, the class that is predicted, and the probabilities.
function mostTakenFor({ logits, scale, aClass }, of, to, T, classes) {
  const images = Array.from({ length: aClass }, (_, place) => {
    const at = (of * aClass + place) * classes, own = Array.from(logits.subarray(at, at + classes), (z) => z * scale);
    return { place, predicted: own.indexOf(Math.max(...own)), p: logSoftmax(own, T, []).map(Math.exp) };
  });
  return images.sort((one, other) => other.p[to] - one.p[to]).slice(0, MOST);
}

// Fills the two lists of the panel; returns what does so for a network (as of `decoded`), what the network is called, a
// pair of classes and T.
function buildConfused({ classes, props: { pictures } }, panel) {
  const waiting = panel.querySelector(".waiting");
  let coming = null; // the file that holds all pictures, a row a class

  function load() {
    if (coming) return;
    waiting.textContent = "Loading the pictures …";
    coming = new Image();
    coming.onload = () => { waiting.textContent = ""; };
    coming.onerror = () => {
      waiting.textContent = "The pictures did not load. Please close the line and try again.";
      coming = null;
    };
    coming.src = pictures;
  }

  const lists = [...panel.querySelectorAll(".confused")].map((list) => {
    const items = Array.from({ length: MOST }, () => {
      const picture = make("span", { className: "recorded", role: "img" });
      picture.style.backgroundImage = `url("${pictures}")`;
      const shares = make("span", { className: "shares" });
      return { item: make("li", {}, picture, shares), picture, shares };
    });
    list.querySelector("ul").replaceChildren(...items.map(({ item }) => item));
    return { told: list.querySelector("p"), items };
  });

  function show({ told, items }, network, subject, of, to, T) {
    const { aClass } = network, name = classes[of], other = classes[to];
    told.textContent = `Of ${aClass} recorded images of ${name}, those where ${subject} gives ${other} the most.`;
    mostTakenFor(network, of, to, T, classes.length).forEach(({ place, predicted, p }, n) => {
      const { item, picture, shares } = items[n];
      picture.style.backgroundSize = `${aClass * 100}% ${classes.length * 100}%`;
      picture.style.backgroundPosition = `${(100 * place) / (aClass - 1)}% ${(100 * of) / (classes.length - 1)}%`;
      picture.ariaLabel = name;
      item.dataset.place = place;
      const sign = (k) => (k !== predicted ? "" : k === of ? " ✓" : " ✗");
      shares.replaceChildren(...[...new Set([of, to, predicted])].map((k) => {
        const share = make(k === predicted ? "b" : "span", { textContent: `${classes[k]} ${percent(p[k])}${sign(k)}` });
        share.dataset.class = classes[k];
        share.dataset.value = p[k];
        return share;
      }));
    });
  }

  return (network, subject, { i, j }, T) => {
    panel.classList.toggle("without-pictures", !pictures);
    if (!pictures) return; // they are of other images
    load();
    show(lists[0], network, subject, i, j, T);
    show(lists[1], network, subject, j, i, T);
  };
}
