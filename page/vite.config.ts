// How the pages are built: plain files beside the server, fonts in one format, nothing inline and nothing from elsewhere.
import { defineConfig, type Plugin } from "vite";

/** Every browser that runs this page reads woff2: the other formats of KaTeX's fonts stay behind. */
const oneFontFormat: Plugin = {
  name: "one-font-format",
  enforce: "pre",
  transform(code, id) {
    return /katex.*\.css/.test(id) ? code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\("[^"]*"\)/g, "") : null;
  },
};

export default defineConfig({
  base: "/",
  logLevel: "warn",
  plugins: [oneFontFormat],
  build: {
    outDir: "../src/thinkaloud/serve/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: { input: ["index.html", "runs.html"] },
  },
});
