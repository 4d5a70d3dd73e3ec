// Before anything is drawn: the scheme that was chosen here last, if one was.
const scheme = localStorage.getItem("thinkaloud.scheme");
if (scheme) document.documentElement.dataset.scheme = scheme;
