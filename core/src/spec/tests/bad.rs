//! What bad specs say.

use super::{FUNNEL, bad};

#[test]
fn show() {
    let cases = [
        "[funnel\nchain = 1\nx = = 2\n",
        "a = 1\na = 2\n",
        "",
        "[stages.click]\n[train]\nbach_rows = 1\nepochs = 0\nclip_norm = \"x\"\noptimizer = { kind = \"adm\" }\n[embedding]\noptimizer = { lr = 1 }\ndim = 1.5\n",
        "features = \"all\"\n[funnel]\nchain = \"impression -> click\"\n[stage.click]\ntower = { kind = \"mpl\", hidden = [256, 128] }\nlabel = 3\nfeatures = { witout = [\"x\"] }\ninit_bias = \"base\"\n[data]\nsource = { kind = \"csv\", files = 3, delimitr = \"x\" }\norphan_labels = \"drop\"\n[train]\noptimizer = { kind = \"adam\", lr = \"x\", beta1 = \"x\", foo = 1 }\n",
        &format!("{FUNNEL}[stage.purchase.tower]\nkind = \"mlp\"\nhiden = [3]\ndropout = \"x\"\nhidden = [1, 0, 3]\n[split]\nkind = \"column\"\ncolumn = 3\n"),
        "[funnel]\nrow = \"imp\"\n[stage.a]\nafter = \"b\"\n[stage.b]\nafter = \"a\"\n[stage.c]\nafter = \"c\"\n[stage.d]\nafter = \"imq\"\n[stage.e]\n[data]\nsource = \"nope\"\n",
        "[funnel]\n[stage.a]\nafter = \"b\"\n[stage.b]\nafter = \"a\"\n[data]\nsource = 3\n",
        "[stage.a]\nafter = \"impression\"\n[stage.b]\nafter = \"a\"\nlabel = \"a\"\n[stage.c]\nafter = { stage = \"a\", unless = \"a\" }\n[stage.d]\nafter = { stage = \"a\", unles = \"b\" }\n[data]\nsource = \"csv\"\n",
        "[stage.a]\nafter = \"impression\"\n[stage.b]\nafter = \"a\"\nlabel = \"x\"\n[stage.c]\nafter = \"a\"\nlabel = \"x\"\n[outcome.x]\nany_of = [\"b\", \"c\", \"e\"]\n[outcome.a]\nany_of = []\n[data]\nsource = \"csv\"\n",
    ];
    for c in cases {
        eprintln!("=================\n{c}-----------------\n{}", bad(c));
    }
}
