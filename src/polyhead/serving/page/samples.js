// Texts to begin with. None is about anybody.

export const SAMPLES = [
  ["A sentence", "Maria from Lindqvist Travel rebooked my flight to Porto, and it didn't cost a cent."],
  [
    "A review",
    "I ordered the blue lamp from Hansen & Sons in Aarhus two weeks ago. It arrived yesterday, well packed, and it " +
      "looks even better than in the pictures! The only thing that annoyed me was the courier: he called at seven in " +
      "the morning and left the parcel with a neighbour whom I have never met.",
  ],
  ["A complaint", "The hotel near Lisbon was loud, the breakfast cold, and nobody at the desk answered. Never again."],
  ["A question", "Where is my parcel, and why does Northwind Post in Leeds never answer the phone?"],
  ["Signs and markup", "<b>50 % off</b> & more: \u201cquotes\u201d, e\u0301 and \u{1f469}\u200d\u{1f680} at Café Zürich <script>alert(1)</script>."],
  ["Right to left", "\u0648\u0635\u0644\u062a \u0645\u0627\u0631\u064a\u0627 \u0625\u0644\u0649 \u0645\u062f\u064a\u0646\u0629 \u0628\u0648\u0631\u062a\u0648 \u0645\u0633\u0627\u0621 \u0623\u0645\u0633."],
];
