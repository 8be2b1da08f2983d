// Loads Grafana's own libraries of three major versions. They expect a browser; jsdom provides one.
import { createRequire } from 'node:module';

export const MAJORS = [11, 12, 13];

export function libraries(folder) {
  const load = createRequire(`${folder}/package.json`);
  const { JSDOM } = load('jsdom');
  const { window } = new JSDOM('<!doctype html>', { url: 'http://localhost/' });
  const names = ['window', 'document', 'navigator', 'localStorage', 'HTMLElement', 'Element', 'Node', 'MutationObserver'];
  for (const name of names) {
    const value = name === 'window' ? window : window[name];
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  globalThis.getComputedStyle = window.getComputedStyle;
  return Object.fromEntries(MAJORS.map((major) => [major, load(`data-${major}`)]));
}
