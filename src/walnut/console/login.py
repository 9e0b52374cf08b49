"""The page before the console: a field for a token. Plain HTML, which needs no script and loads nothing.

What must stay true: it holds no secret; what it is given is escaped.
"""

from __future__ import annotations

from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark; --ground:#f6f4f0; --surface:#fff; --line:#c9c2b6; --text:#221d17;
  --muted:#655d52; --accent:#84430f; --on:#fff; --bad:#a8261c; --soft:#fbe6e3; }
@media (prefers-color-scheme: dark) { :root { --ground:#141210; --surface:#1d1a17; --line:#514840;
  --text:#efe9e0; --muted:#aea496; --accent:#e7a765; --on:#1d1206; --bad:#f39b91; --soft:#431c18; } }
body { background:var(--ground); color:var(--text); font:16px/1.5 system-ui,sans-serif; margin:0;
  min-height:100vh; display:grid; place-items:center; }
main { background:var(--surface); border:1px solid var(--line); border-radius:16px; padding:32px;
  width:min(400px,calc(100vw - 32px)); box-sizing:border-box; }
.brand { display:flex; align-items:center; gap:12px; font-size:22px; font-weight:650; margin:0 0 6px; }
svg { width:34px; height:34px; } p { color:var(--muted); margin:0 0 20px; }
label { display:block; font-weight:600; margin-bottom:6px; }
input { font:15px ui-monospace,monospace; width:100%; box-sizing:border-box; padding:11px 12px;
  border:1px solid var(--line); border-radius:9px; background:var(--ground); color:var(--text); }
button { font:600 16px system-ui,sans-serif; margin-top:16px; width:100%; padding:11px; border:0;
  border-radius:9px; background:var(--accent); color:var(--on); cursor:pointer; }
:focus-visible { outline:2px solid #4c8dff; outline-offset:2px; }
.error { background:var(--soft); color:var(--bad); padding:10px 12px; border-radius:9px; margin-bottom:16px; }
details { margin-top:20px; color:var(--muted); font-size:14px; } code { font-size:13px; }
pre { overflow:auto; background:var(--ground); border:1px solid var(--line); padding:9px 11px;
  border-radius:8px; margin:8px 0 0; }
"""
_NUT: Final = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><ellipse cx="16" cy="16" rx="12.5" ry="14" '
    'fill="#84430f"/><path d="M16 2v28M9 7c3 4 3 14 0 18M23 7c-3 4-3 14 0 18" fill="none" '
    'stroke="#f1d6b4" stroke-width="1.8" stroke-linecap="round"/></svg>'
)


def login_page(error: str = "") -> bytes:
    """The page, which sends its form to the address that it is at.

    Args:
        error: why the last try failed, in words.
    """
    said = f'<div class="error" role="alert">{escape(error)}</div>' if error else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in · Walnut</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>
<body><main><h1 class="brand">{_NUT}Walnut</h1><p>Log in with a token. The first start of the server printed the operator's.</p>{said}
<form method="post">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" spellcheck="false"
 required autofocus placeholder="walnut_…">
<button>Log in</button></form>
<details><summary>I have no token</summary>Whoever has one makes you another:
<pre><code>walnut token create NAME --scope 'tables:read'</code></pre></details>
</main></body></html>
""".encode()
