//! `report.html`: one file, nothing to fetch.

use std::{collections::BTreeSet, fmt::Write as _};

use wavecube_models::metrics::decimals;

use super::{KernelRow, Report};

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}\
h1{margin-bottom:.2rem}table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .6rem;border-bottom:1px solid #d8dee4;text-align:left}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
pre{background:#f6f8fa;padding:1rem;overflow-x:auto;white-space:pre-wrap}\
.bad{color:#b42318}.good{color:#1a7f37}.quiet{color:#59636e}svg{width:100%;height:auto}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The report as a page.
pub fn html(report: &Report) -> String {
    let verdict = if report.beats_order1 { ("good", "below") } else { ("bad", "not below") };
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>wavecube demo</title>\
         <style>{STYLE}</style><h1>wavecube demo</h1><p class=\"quiet\">{} · commit {} · {}</p>\
         <h2>Training</h2><p>LCT-GPT with {} parameters reads {} and ends at \
         <strong>{} bits per byte</strong> on text it has not seen, \
         <span class=\"{}\">{}</span> that text's order-1 entropy of {}.</p>",
        escape(&report.date),
        escape(report.commit.as_deref().unwrap_or("unknown")),
        escape(&report.device),
        report.parameters,
        escape(&report.text),
        decimals(report.bits_per_byte, 3),
        verdict.0,
        verdict.1,
        decimals(report.entropy.order1, 3)
    );
    page.push_str(&curve(report));
    let facts = [
        ("Bytes trained on / held out", format!("{} / {}", report.bytes[0], report.bytes[1])),
        ("Order-0 entropy of the held-out text", decimals(report.entropy.order0, 3)),
        ("Order-1 entropy of the held-out text", decimals(report.entropy.order1, 3)),
        (
            "Bigram model of the training text, held out",
            decimals(report.entropy.bigram_held_out, 3),
        ),
        ("Steps", report.steps.to_string()),
        ("Seconds", format!("{:.0}", report.seconds)),
        ("Tokens per second", format!("{:.0}", report.tokens_per_second)),
        ("Degenerate transforms met", report.degenerate_hits.to_string()),
    ];
    page.push_str("<table>");
    for (name, value) in facts {
        let _ = write!(page, "<tr><td>{name}</td><td class=\"n\">{value}</td></tr>");
    }
    let _ = write!(
        page,
        "</table><h2>Sample</h2><pre><span class=\"quiet\">{}</span>{}</pre>",
        escape(&report.prompt),
        escape(&report.sample)
    );
    page.push_str(&kernels(&report.kernels));
    page.push_str("</html>\n");
    page
}

fn kernels(rows: &[KernelRow]) -> String {
    if rows.is_empty() {
        return "<h2>Kernels</h2><p>None were measured; <code>cargo xtask demo</code> measures them \
                first.</p>"
            .to_owned();
    }
    let devices: BTreeSet<&str> = rows.iter().map(|row| row.device.as_str()).collect();
    let devices: Vec<&str> = devices.into_iter().collect();
    let mut table = format!(
        "<h2>Kernels</h2><p>Each operation against its definition in f64, on {}: relative error, the \
         largest that passes, the median time, and the bytes that must move a second beside a plain \
         copy.</p><table><tr><th>Operation</th><th class=\"n\">Error</th><th class=\"n\">Gate</th>\
         <th class=\"n\">ms</th><th class=\"n\">GB/s</th><th class=\"n\">of a copy</th></tr>",
        escape(&devices.join(", "))
    );
    for row in rows {
        let class = if row.error <= row.gate { "good" } else { "bad" };
        let _ = write!(
            table,
            "<tr><td>{}</td><td class=\"n {class}\">{:.1e}</td><td class=\"n\">{:.1e}</td>\
             <td class=\"n\">{:.3}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.0} %</td></tr>",
            escape(&row.id),
            row.error,
            row.gate,
            row.ms,
            row.bytes as f64 / row.ms / 1e6,
            100.0 * row.copy_fraction
        );
    }
    table.push_str("</table>");
    table
}

/// Training and held-out bits per byte over the steps, with the order-1 line.
fn curve(report: &Report) -> String {
    const WIDTH: f64 = 800.0;
    const HEIGHT: f64 = 320.0;
    const LEFT: f64 = 44.0;
    const BELOW: f64 = 28.0;
    let Some(last) = report.records.last() else { return String::new() };
    let top = 8.0_f64;
    let highest = report
        .records
        .iter()
        .map(|record| record.train_bpb)
        .fold(report.entropy.order1, f64::max)
        .min(top);
    let lowest = report
        .records
        .iter()
        .map(|record| record.train_bpb)
        .fold(report.bits_per_byte.min(report.entropy.order1), f64::min);
    let (floor, ceiling) = (lowest.floor(), highest.ceil().max(lowest.floor() + 1.0));
    let x = |step: usize| LEFT + (WIDTH - LEFT - 8.0) * step as f64 / last.step.max(1) as f64;
    let y = |bpb: f64| {
        8.0 + (HEIGHT - BELOW - 8.0) * (ceiling - bpb.clamp(floor, ceiling)) / (ceiling - floor)
    };
    let line = |points: Vec<(usize, f64)>| {
        points
            .into_iter()
            .map(|(step, bpb)| format!("{:.1},{:.1}", x(step), y(bpb)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let train = line(report.records.iter().map(|r| (r.step, r.train_bpb)).collect());
    let mut held_out: Vec<_> =
        report.records.iter().filter_map(|r| r.validation_bpb.map(|bpb| (r.step, bpb))).collect();
    held_out.push((last.step, report.bits_per_byte));
    let held_out = line(held_out);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Bits per byte over training steps\" font-size=\"12\" fill=\"#59636e\">"
    );
    let mut tick = floor;
    while tick <= ceiling {
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#d8dee4\"/>\
             <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{tick}</text>",
            y(tick),
            LEFT - 6.0,
            y(tick) + 4.0
        );
        tick += 1.0;
    }
    let order1 = y(report.entropy.order1);
    let _ = write!(
        svg,
        "<polyline points=\"{train}\" fill=\"none\" stroke=\"#8ab4f8\" stroke-width=\"1.2\"/>\
         <polyline points=\"{held_out}\" fill=\"none\" stroke=\"#1a56db\" stroke-width=\"2.2\"/>\
         <line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{order1:.1}\" y2=\"{order1:.1}\" \
         stroke=\"#b42318\" stroke-width=\"1.5\" stroke-dasharray=\"6 4\"/>\
         <text x=\"{0}\" y=\"{1:.1}\" text-anchor=\"end\" fill=\"#b42318\">order 1: {2}</text>\
         <text x=\"{LEFT}\" y=\"{3}\">0</text>\
         <text x=\"{0}\" y=\"{3}\" text-anchor=\"end\">step {4}</text>\
         <text x=\"{0}\" y=\"22\" text-anchor=\"end\">bits per byte: training (pale), held out \
         (dark)</text></svg>",
        WIDTH - 8.0,
        order1 - 6.0,
        decimals(report.entropy.order1, 3),
        HEIGHT - 8.0,
        last.step
    );
    svg
}
