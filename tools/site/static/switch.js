// Fills the list of versions with those of the site, and shows the same page of the version that is chosen. A page that the
// version does not have is replaced by its front page. Without the list of versions there is nothing to choose.
"use strict";

function addressIn(version, select) {
  const page = version.pages.includes(select.dataset.page) ? select.dataset.page : "docs/README.html";
  return `${select.dataset.root}${version.version}/${page}`;
}

function offerVersions(versions, select, go) {
  select.replaceChildren();
  for (const { version } of versions) {
    const option = document.createElement("option");
    option.textContent = version;
    option.selected = version === select.dataset.version;
    select.append(option);
  }
  select.addEventListener("change", () => {
    go(addressIn(versions[select.selectedIndex], select));
  });
  select.form.hidden = versions.length < 2;
}

if (typeof VERSIONS !== "undefined") {
  offerVersions(VERSIONS, document.getElementById("version"), (address) => location.assign(address));
}
