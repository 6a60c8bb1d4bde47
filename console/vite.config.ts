import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const SMALL = 1000; // bytes that are not worth compressing

/** Writes .br and .gz beside what compresses: the server sends them as they are. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    writeBundle(options) {
      const folder = join(options.dir ?? "", "assets");
      for (const name of readdirSync(folder)) {
        const content = readFileSync(join(folder, name));
        if (!/\.(js|css|svg)$/.test(name) || content.length < SMALL) continue;
        const brotli = brotliCompressSync(content, {
          params: { [constants.BROTLI_PARAM_SIZE_HINT]: content.length },
        });
        writeFileSync(join(folder, `${name}.br`), brotli);
        writeFileSync(join(folder, `${name}.gz`), gzipSync(content, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  // Everything is found from <base>, which the server writes: it may be behind a prefix.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/simyard/console/dist",
    emptyOutDir: true,
    target: "es2022",
    manifest: true,
    cssCodeSplit: false, // it is small, and a request less
    assetsInlineLimit: 0, // no data: addresses, which the content policy refuses
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        // One file for what most pages share, with what starts it, instead of one for each icon.
        codeSplitting: {
          groups: [{ name: "shell", test: /lucide-preact|src\/(main|app|(api|lib|ui)\/(?!uploads))/ }],
        },
      },
    },
  },
  plugins: [compressed()],
  server: { proxy: { "/api": "http://127.0.0.1:8420" } },
  test: { include: ["tests/**/*.test.ts"], css: { include: /tokens/ } },
} as Parameters<typeof defineConfig>[0]);
