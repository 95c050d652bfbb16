"""How the page looks: one column that fits a laptop's screen, figures in white cards, numbers that align."""

CSS = """\
:root { --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea; --paper: #f6f7f9; --link: #00598c; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
header, main { max-width: 1120px; margin: 0 auto; padding: 0 32px; }
header { padding-top: 40px; }
h1 { font-size: 32px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 6px; }
header p { margin: 0 0 18px; color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 10px 0; border-top: 1px solid var(--line);
  border-bottom: 1px solid var(--line); font-size: 15px; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
h2 { font-size: 23px; line-height: 1.3; margin: 48px 0 6px; scroll-margin-top: 12px; }
.lead { margin: 0 0 18px; max-width: 92ch; color: #3a4452; }
.short { background: #fff; border: 1px solid var(--line); border-left: 4px solid #0072b2; border-radius: 6px;
  padding: 16px 24px; margin-top: 26px; }
.short h2 { margin: 0 0 4px; font-size: 17px; }
.short ul { margin: 0; padding-left: 20px; }
.short li { margin: 3px 0; }
figure { margin: 0 0 24px; padding: 18px 24px 16px; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
h3 { font-size: 17px; line-height: 1.35; margin: 0 0 10px; }
figure > svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { margin-top: 12px; max-width: 112ch; font-size: 14px; color: var(--soft); }
figcaption span { white-space: nowrap; }
figcaption span a { display: inline-block; margin-left: 4px; padding: 0 7px; border: 1px solid var(--line);
  border-radius: 4px; font-size: 12px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; vertical-align: bottom; font-weight: 600; color: var(--soft); padding: 6px 12px 6px 0;
  border-bottom: 2px solid var(--line); }
td { padding: 6px 12px 6px 0; border-bottom: 1px solid #eef1f4; vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
td small { display: block; color: var(--soft); font-size: 12.5px; line-height: 1.4; max-width: 52ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px 24px; margin: 0 0 16px; }
.tiles b { display: block; font-size: 25px; line-height: 1.25; font-weight: 600; }
.tiles span { color: var(--soft); font-size: 13.5px; }
td:first-child, td nobr, td nobr + small { white-space: nowrap; }
dl { margin: 14px 0 0; padding-top: 12px; border-top: 2px solid var(--line); font-size: 14px; }
dt { font-weight: 600; }
dd { margin: 0 0 8px; max-width: 112ch; }
.off { color: #8a5a00; }
@media print { body { background: #fff; } figure, .short { break-inside: avoid; } nav { display: none; } }
"""
